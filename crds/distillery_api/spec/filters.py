"""Which rows and replies are kept."""

from __future__ import annotations

from enum import StrEnum
from typing import Annotated, ClassVar

from pydantic import Field

from distillery_api.base import ApiModel, FirstDefault, Rule
from distillery_api.spec.answer_rules import AnswerRule
from distillery_api.spec.fields import Flag


class DuplicateMatching(StrEnum):
    """How similar two prompts must be to count as duplicates."""

    NONE = "None"
    EXACT = "Exact"
    NEAR = "Near"


class PersonalData(StrEnum):
    """Kinds of personal data. All are recognised by their form, except Person, which needs an installed spaCy model."""

    EMAIL_ADDRESS = "EmailAddress"
    """Addresses such as name@example.com."""
    PHONE_NUMBER = "PhoneNumber"
    """Telephone numbers."""
    IP_ADDRESS = "IPAddress"
    """Addresses of machines, IPv4 and IPv6."""
    CREDIT_CARD = "CreditCard"
    """Numbers of credit cards with right check digits."""
    BANK_ACCOUNT = "BankAccount"
    """IBANs with right check digits."""
    URL = "URL"
    """Addresses of web pages."""
    PERSON = "Person"
    """Names of people, where a spaCy model is installed."""


def _lengths_can_be_met(filters: Filters) -> bool:
    least, most = filters.min_answer_words, filters.max_answer_words
    return least is None or most is None or least <= most


class Filters(ApiModel):
    """Additional conditions for keeping a row. Held-out rows are never filtered."""

    duplicates: DuplicateMatching = DuplicateMatching.EXACT
    """Rejects train and validation rows whose prompt duplicates that of an earlier row in the same split, before they
    are sent to the teacher: Exact compares all words, ignoring case and whitespace; Near also finds prompts that share
    most of their phrases; None keeps all rows. Default: Exact."""
    leakage: DuplicateMatching = DuplicateMatching.EXACT
    """Rejects train rows whose prompt duplicates that of a validation or test row, and validation rows whose prompt
    duplicates that of a test row, before they are sent to the teacher. Values as in duplicates. Default: Exact."""
    near_threshold: Annotated[float, Field(strict=True, gt=0.5, le=1)] = 0.8
    """Similarity at which two prompts count as near duplicates, above 0.5 and up to 1: the estimated Jaccard similarity
    of their three-word phrases. Default: 0.8."""
    disagrees_with_gold: Flag = False
    """Rejects rows whose answer differs from their `gold`. The student is then partly supervised, which the result
    table states. Default: false."""
    min_agreement: Annotated[float, Field(strict=True, ge=0, le=1)] = 0.5
    """With several samples: minimum share of all samples, unreadable ones included, that must agree on the answer, from
    0 to 1. A tie is always rejected. Default: 0.5."""
    max_answer_words: Annotated[int, Field(strict=True, ge=1, le=100_000)] | None = None
    """Maximum length of an answer, in words. Longer answers are rejected. Default: no limit; summaries are always
    limited to 1.25 times maxSummaryWords."""
    min_answer_words: Annotated[int, Field(strict=True, ge=1, le=100_000)] | None = None
    """Minimum length of an answer, in words. Shorter answers are rejected. Default: no limit."""
    language: Annotated[Flag | None, FirstDefault(True)] = None
    """Rejects answers in prose that are not in generation.language or, if that is not set, not in the language of the
    row. Default: true; for Text, whose answers may be a translation or code, only where generation.language is set."""
    faithful: Flag = False
    """Rejects summaries that contain a number that is not in their source or, if a spaCy model for English is
    installed, such a named entity. Default: false."""
    answer_rules: Annotated[tuple[AnswerRule, ...], Field(min_length=1, max_length=20)] | None = None
    """Rules that every answer must keep, for Summarization, Conversation and Text. An answer that breaks one is
    rejected, and the result table has the share of each system's answers that keep them all. Default: none."""

    rules: ClassVar[tuple[Rule, ...]] = (
        Rule(
            "!has(self.minAnswerWords) || !has(self.maxAnswerWords) || self.minAnswerWords <= self.maxAnswerWords",
            "minAnswerWords is greater than maxAnswerWords, so no answer would be kept; lower it",
            _lengths_can_be_met,
        ),
    )


class Redaction(ApiModel):
    """Replaces personal data in rows before they are sent to the teacher or the judge, and in training rows."""

    kinds: Annotated[tuple[PersonalData, ...], Field(min_length=1, max_length=7)]
    """Kinds of personal data to replace by placeholders such as [EMAIL_ADDRESS]."""
