"""The small model: loaded, trained, merged and saved."""
