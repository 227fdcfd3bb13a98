"""The input rows: sources, formats and splits."""

from __future__ import annotations

from enum import StrEnum
from typing import Annotated, Any, ClassVar

from pydantic import BeforeValidator, Field
from pydantic_core import PydanticCustomError

from distillery_api.base import ApiModel, NotIdentity, Rule, matches
from distillery_api.spec.fields import Flag, Licence, SecretReference, SourceUri
from distillery_api.spec.labels import Labels, are_distinct, can_be_listed
from distillery_api.spec.where import Where


class DataFormat(StrEnum):
    """File formats of rows."""

    AUTO = "Auto"
    """Detected from the file's name and its first row."""
    CHAT = "Chat"
    """JSON Lines of messages, with optional id, gold and metadata."""
    OPENAI_FINE_TUNING = "OpenAIFineTuning"
    """Files for OpenAI's fine-tuning."""
    PROMPT_COMPLETION = "PromptCompletion"
    """JSON Lines with prompt and completion."""
    ALPACA = "Alpaca"
    """JSON Lines with instruction, input and output."""
    SHARE_GPT = "ShareGPT"
    """JSON Lines with conversations."""
    CSV = "CSV"
    """A table as text, with its columns' names in the first line."""
    PARQUET = "Parquet"
    """A table as a Parquet file."""
    OPENAI_STORED_COMPLETIONS = "OpenAIStoredCompletions"
    """Stored completions of OpenAI."""
    BEDROCK_INVOCATIONS = "BedrockInvocations"
    """Invocation logs of Amazon Bedrock."""
    VLLM_LOG = "VLLMLog"
    """A log of requests to vLLM and their responses."""
    LITELLM_LOG = "LiteLLMLog"
    """A log of LiteLLM."""
    OPENAI_EVALS = "OpenAIEvals"
    """Items of OpenAI's evals."""


class Replies(StrEnum):
    """What to do with an answer that a row already contains."""

    REPLACE = "Replace"
    KEEP = "Keep"
    GOLD = "Gold"


ColumnName = Annotated[str, Field(min_length=1, max_length=200)]
ColumnTemplate = Annotated[str, Field(min_length=1, max_length=20_000)]
OptionColumns = Annotated[tuple[ColumnName, ...], Field(min_length=1, max_length=26)]
Delimiter = Annotated[
    str,
    Field(max_length=2),
    matches(r'^[^\r\n"]$', "not a delimiter; write one character that is neither a quote nor a line break"),
]


def _first_option_belongs_to_options(columns: Columns) -> bool:
    return columns.first_option is None or columns.options is not None


class Columns(ApiModel):
    """The columns of a table, or the keys of JSON rows, and what each is for. A dot leads into an object, as in
    item.question."""

    prompt: ColumnTemplate
    """Column with the user message, or a text in which each {column} stands for a cell: "Premise: {premise}". {column?}
    may be empty; {{ and }} are literal braces. A column that has exactly this name wins. Required."""
    system: ColumnTemplate | None = None
    """Column with the system message, or a text with {column} as for prompt. Default: none."""
    reply: ColumnName | None = None
    """Column with an answer that the row already contains. Default: none."""
    gold: ColumnName | None = None
    """Column with the known answer (gold). With options: the letter or the text of an option, or its number if
    firstOption is set. Default: none."""
    id: ColumnName | None = None
    """Column with the row's ID. Default: none."""
    options: OptionColumns | None = None
    """Columns with the options of a MultipleChoice question, in order, or one column with a list of them. They follow
    the prompt as lines A. to Z. Cells at the end may be empty. Default: none."""
    first_option: Annotated[int, Field(strict=True, ge=0, le=1)] | None = None
    """Number of the first option, 0 or 1, where gold is a number. Default: gold is no number."""
    delimiter: Delimiter | None = None
    """The one character that separates the cells of a CSV file. Default: comma, semicolon, tab or pipe, whichever the
    first rows show."""

    rules: ClassVar[tuple[Rule, ...]] = (
        Rule(
            "!has(self.firstOption) || has(self.options)",
            "columns.firstOption numbers the options; name their columns in columns.options, or remove it",
            _first_option_belongs_to_options,
        ),
    )


def _columns_belong_to_a_table(source: DataSource) -> bool:
    return source.columns is None or source.format in (DataFormat.AUTO, DataFormat.CSV, DataFormat.PARQUET)


def _delimiter_belongs_to_csv(source: DataSource) -> bool:
    return source.columns is None or source.columns.delimiter is None or source.format is not DataFormat.PARQUET


def _one_location(uri: Any) -> Any:
    if isinstance(uri, list | tuple):
        raise PydanticCustomError("rule", "{message}", {"message": "is a list; name several locations in uris"})
    return uri


def _is_at_one_or_at_several_locations(source: DataSource) -> bool:
    return (source.uri is None) != (source.uris is None)


class DataSource(ApiModel):
    """One or several files of rows."""

    uri: Annotated[SourceUri, BeforeValidator(_one_location)] | None = None
    """Location of the file: pvc://CLAIM/PATH, configmap://NAME/KEY, https://HOST/PATH, s3://BUCKET/KEY,
    gs://BUCKET/KEY, abfs://CONTAINER/PATH, hf://datasets/ORG/NAME/PATH, file:///PATH, or a plain path. A plain path is
    relative to the manifest's folder in a local run, and to the workspace volume in a cluster. A folder stands for all
    files of rows in it, a pattern with * for the files that match, configmap://NAME/ for all keys; https has neither.
    gzip and zstd compression are detected from the file's content, not from its name. Set either this or uris."""
    uris: Annotated[tuple[SourceUri, ...], Field(min_length=1, max_length=20)] | None = None
    """Up to 20 locations, each as in uri, whose rows are joined in this order. Set either this or uri."""
    format: DataFormat = DataFormat.AUTO
    """Format of the rows. Auto detects it from the file's name and first row. Default: Auto."""
    columns: Columns | None = None
    """Names of the columns, for CSV, Parquet and JSON Lines without messages. Default: the column names of a known
    format."""
    replies: Replies = Replies.REPLACE
    """What to do with answers that rows already contain, as logs of a production model do: Replace asks the teacher
    again, Keep uses them as the teacher's answers without a request, Gold takes them as the known answers (gold) and
    asks the teacher. Default: Replace."""
    where: Where | None = None
    """Conditions that a record must meet to be a row, such as {model: gpt-4o, finish: stop, metadata.task: faq}: up to
    20 keys, each with a value that is compared as text, or a list of values of which one must be met. An empty value
    stands for a missing key. In logs, model, finish and metadata mean that part of the record in any of the formats.
    Default: all records."""

    rules: ClassVar[tuple[Rule, ...]] = (
        Rule(
            "has(self.uri) != has(self.uris)",
            "set either uri (one location) or uris (a list of them)",
            _is_at_one_or_at_several_locations,
        ),
        Rule(
            "!has(self.columns) || self.format in ['Auto', 'CSV', 'Parquet']",
            "columns is only supported for tables; remove it, or set format to CSV, Parquet or Auto",
            _columns_belong_to_a_table,
        ),
        Rule(
            "!has(self.columns) || !has(self.columns.delimiter) || self.format != 'Parquet'",
            "columns.delimiter is only for CSV; remove it, or set format to CSV",
            _delimiter_belongs_to_csv,
        ),
    )

    @property
    def locations(self) -> tuple[str, ...]:
        """Where the rows are."""
        return self.uris or (self.uri or "",)


def _labels_differ(data: Data) -> bool:
    return data.labels is None or are_distinct(data.labels)


def _labels_can_be_listed(data: Data) -> bool:
    return not data.multi_label or data.labels is None or can_be_listed(data.labels)


def _has_one_validation_source(data: Data) -> bool:
    return (data.validation is None) != (data.validation_fraction is None)


class Data(ApiModel):
    """The input rows. A chat row is `{"messages": [...]}` with optional `id`, `gold` and `metadata`."""

    version: Annotated[str, Field(max_length=100)] | None = None
    """Version of the data. Change it when the content behind a URI changes: all stages then run again. Default:
    none."""
    licence: Annotated[Licence | None, NotIdentity] = None
    """Licence of the data, such as CC-BY-4.0, for the dataset card. Default: none."""
    train: DataSource
    """Rows that the teacher answers and that the student is trained on."""
    validation: DataSource | None = None
    """Rows that the teacher answers and that select the best checkpoint. Set either this or validationFraction."""
    validation_fraction: Annotated[float, Field(strict=True, gt=0, lt=1)] | None = None
    """Share of the train rows to use for validation, above 0 and below 1. Rows are selected by a hash of their content,
    so that a row stays in its split when other rows are added. Set either this or validation."""
    test: DataSource | None = None
    """Held-out rows with `gold`, on which all systems are scored. Default: half of the validation rows, selected by a
    hash of their content."""
    labels: Labels | None = None
    """Allowed answers for NLI, MultipleChoice and Classification, which requires them: 2 to 200 labels of at most 100
    characters each, which differ in more than case, punctuation around them, or how Unicode encodes the same letters.
    Integers and booleans are read as text. For Classification, a label may be an object with name, description (what
    it means, for teacher and student) and value (how the data's gold writes it, such as 1). Default for NLI:
    entailment, neutral, contradiction; for MultipleChoice: the letters of the options in each row."""
    multi_label: Flag = False
    """Whether an answer is any number of the labels, or none, for Classification. Default: false."""
    credentials: Annotated[SecretReference | None, NotIdentity] = None
    """Secret whose keys become environment variables of the generate stage, which reads the rows, for example
    AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY. Default: none."""

    rules: ClassVar[tuple[Rule, ...]] = (
        Rule(
            None,
            "labels: two labels cannot be told apart in a reply, where case, Unicode variants, and punctuation, quotes"
            " or brackets around a label do not count; give each label once",
            _labels_differ,
        ),
        Rule(
            None,
            "labels: with multiLabel, an answer is a list such as a, b, or the word none; give no label that name, and"
            " none with a comma, a semicolon or a vertical bar",
            _labels_can_be_listed,
        ),
        Rule(
            "has(self.validation) != has(self.validationFraction)",
            "set either validation (a source of rows) or validationFraction (a share of the train rows)",
            _has_one_validation_source,
        ),
    )

    @property
    def sources(self) -> dict[str, DataSource]:
        """The sources that are set, by split."""
        given = {"train": self.train, "validation": self.validation, "test": self.test}
        return {split: source for split, source in given.items() if source is not None}
