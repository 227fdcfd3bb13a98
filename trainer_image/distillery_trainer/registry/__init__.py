"""The student as an OCI image: its layers, and the push to a registry by the OCI distribution API.

Nothing is written to the disk and no file is held in memory: a layer is read once for its digest, and once more where
the registry does not have it.
"""
