"""The one definition that the operator, the command line and the stages share.

It imports pydantic and, for the CRD, PyYAML. Decisions, requests and training belong to the packages that
import it."""

__version__ = "0.1.0"
