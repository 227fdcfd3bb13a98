"""Which rows and replies are kept."""

from __future__ import annotations

from enum import StrEnum
from typing import Annotated

from pydantic import Field

from distillery_api.base import ApiModel
from distillery_api.spec.fields import Flag


class Likeness(StrEnum):
    """How alike two prompts must be for one of them to go."""

    NONE = "None"
    EXACT = "Exact"
    NEAR = "Near"


class PersonalData(StrEnum):
    """Kinds of personal data that can be told from their form, and names, for which a model must be installed."""

    EMAIL_ADDRESS = "EmailAddress"
    PHONE_NUMBER = "PhoneNumber"
    IP_ADDRESS = "IPAddress"
    CREDIT_CARD = "CreditCard"
    BANK_ACCOUNT = "BankAccount"
    URL = "URL"
    PERSON = "Person"


class Filters(ApiModel):
    """What a row needs to be kept, beyond a whole and readable reply. Held-out rows are never filtered."""

    duplicates: Likeness = Likeness.EXACT
    """Train and validation rows that ask what an earlier row of their split asks are rejected before they cost
    anything: Exact compares the words, Near also finds prompts that share most of their phrases, None keeps all.
    Default: Exact."""
    leakage: Likeness = Likeness.EXACT
    """Train rows that ask what a validation or test row asks, and validation rows that ask what a test row asks, are
    rejected before they cost anything. Default: Exact."""
    near_threshold: Annotated[float, Field(strict=True, gt=0.5, le=1)] = 0.8
    """Share of three-word phrases (estimated Jaccard similarity) from which two prompts are near. Default: 0.8."""
    disagrees_with_gold: Flag = False
    """Rejects a row whose answer is not its `gold`; the run is then partly supervised, and its table says so.
    Default: false."""
    min_agreement: Annotated[float, Field(strict=True, ge=0, le=1)] = 0.5
    """With several samples: least share of them that must give the winning answer; a tie is always rejected.
    Default: 0.5."""
    max_answer_words: Annotated[int, Field(strict=True, ge=1, le=100_000)] | None = None
    """Longest answer, in words. Default: no limit, and maxSummaryWords and a quarter for summaries."""
    language: Flag = True
    """Rejects summaries and conversations in another language than asked for. Default: true."""
    faithful: Flag = False
    """Rejects summaries that name a number that their source does not, or an entity where a model that finds them is
    installed. Default: false."""


class Redaction(ApiModel):
    """Personal data that is replaced before a row leaves for a teacher or a judge, and in what the student learns."""

    kinds: Annotated[tuple[PersonalData, ...], Field(min_length=1, max_length=7)]
    """What to replace by a mark such as [EMAIL_ADDRESS]."""
