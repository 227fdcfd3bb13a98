"""The one definition that the operator, the command line and the stages share. Imports pydantic only."""

__version__ = "0.1.0"
