"""The rows to distil from."""

from __future__ import annotations

from enum import StrEnum
from typing import Annotated, ClassVar

from pydantic import Field

from distillery_api.base import ApiModel, NotIdentity, Rule
from distillery_api.spec.fields import Label, Licence, SecretReference, SourceUri


class DataFormat(StrEnum):
    """How rows are written down."""

    AUTO = "Auto"
    CHAT = "Chat"
    OPENAI_FINE_TUNING = "OpenAIFineTuning"
    PROMPT_COMPLETION = "PromptCompletion"
    ALPACA = "Alpaca"
    SHARE_GPT = "ShareGPT"
    CSV = "CSV"
    PARQUET = "Parquet"
    OPENAI_STORED_COMPLETIONS = "OpenAIStoredCompletions"
    BEDROCK_INVOCATIONS = "BedrockInvocations"
    VLLM_LOG = "VLLMLog"
    LITELLM_LOG = "LiteLLMLog"


class Replies(StrEnum):
    """What becomes of an answer that a row holds already."""

    REPLACE = "Replace"
    KEEP = "Keep"


ColumnName = Annotated[str, Field(min_length=1, max_length=200)]


class Columns(ApiModel):
    """Which column of a table holds what."""

    prompt: ColumnName
    """The user's message."""
    system: ColumnName | None = None
    """The system message."""
    reply: ColumnName | None = None
    """An answer that the row holds already."""
    gold: ColumnName | None = None
    """The known answer."""
    id: ColumnName | None = None
    """The row's name."""


def _columns_belong_to_a_table(source: DataSource) -> bool:
    return source.columns is None or source.format in (DataFormat.AUTO, DataFormat.CSV, DataFormat.PARQUET)


class DataSource(ApiModel):
    """Where rows are read from."""

    uri: SourceUri
    """A file of rows, gzip or zstd compressed if its name ends in .gz or .zst: pvc://CLAIM/PATH, configmap://NAME/KEY,
    https://HOST/PATH, s3://BUCKET/KEY, gs://BUCKET/KEY, abfs://CONTAINER/PATH, hf://datasets/ORG/NAME/PATH, file:///PATH,
    or a plain path. A plain path is taken from the manifest's folder in a local run and from the workspace volume in a
    cluster."""
    format: DataFormat = DataFormat.AUTO
    """How the rows are written down. Auto tells it from the file's name and its first row. Default: Auto."""
    columns: Columns | None = None
    """Which column holds what, for CSV, Parquet and JSON Lines without messages."""
    replies: Replies = Replies.REPLACE
    """What becomes of an answer that a row holds already, as logs of a model in production do: Replace asks the teacher
    anew, Keep takes it as the teacher's, without a call. Default: Replace."""

    rules: ClassVar[tuple[Rule, ...]] = (
        Rule(
            "!has(self.columns) || self.format in ['Auto', 'CSV', 'Parquet']",
            "columns says what the columns of a table hold; remove it, or set format to CSV, Parquet or Auto",
            _columns_belong_to_a_table,
        ),
    )


def _labels_differ(data: Data) -> bool:
    return data.labels is None or len({label.lower() for label in data.labels}) == len(data.labels)


def _validation_comes_from_one_place(data: Data) -> bool:
    return (data.validation is None) != (data.validation_fraction is None)


class Data(ApiModel):
    """The rows to distil from. A chat row is `{"messages": [...]}` with optional `id`, `gold` and `metadata`."""

    version: Annotated[str, Field(max_length=100)] | None = None
    """Part of the data's identity: change it when the content behind a URI changes, and every stage runs again."""
    licence: Annotated[Licence | None, NotIdentity] = None
    """The data's licence, such as CC-BY-4.0, for the data set card."""
    train: DataSource
    """Rows that the teacher answers and the student learns from."""
    validation: DataSource | None = None
    """Rows that the teacher answers and that choose the best checkpoint. Give these, or validationFraction."""
    validation_fraction: Annotated[float, Field(strict=True, gt=0, lt=1)] | None = None
    """Share of the train rows that becomes the validation split, above 0 and below 1. Chosen by content, so that a row
    stays where it is when others are added."""
    test: DataSource | None = None
    """Held-out rows with `gold`, from which the scores come. Default: carved from the validation rows, half of them,
    by content."""
    labels: Annotated[tuple[Label, ...], Field(min_length=2, max_length=50)] | None = None
    """The allowed answers of NLI and MultipleChoice, each at most 100 characters. Default for NLI: entailment, neutral,
    contradiction; for MultipleChoice: the letters of the options in each row."""
    credentials: Annotated[SecretReference | None, NotIdentity] = None
    """A Secret whose keys become environment variables of the stage that reads the rows, for instance
    AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY."""

    rules: ClassVar[tuple[Rule, ...]] = (
        Rule(
            "!has(self.labels) || self.labels.all(a, self.labels.exists_one(b, b.lowerAscii() == a.lowerAscii()))",
            "labels: two labels are the same but for upper and lower case; give each label once",
            _labels_differ,
        ),
        Rule(
            "has(self.validation) != has(self.validationFraction)",
            "give either validation, a source of rows, or validationFraction, a share of the train rows",
            _validation_comes_from_one_place,
        ),
    )

    @property
    def sources(self) -> dict[str, DataSource]:
        """The sources that are given, by split."""
        given = {"train": self.train, "validation": self.validation, "test": self.test}
        return {split: source for split, source in given.items() if source is not None}
