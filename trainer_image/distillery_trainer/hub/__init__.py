"""The student in a repository of the Hugging Face Hub: one commit, which holds the files of the student and no others.

What the Hub has already is not sent again: neither what a branch holds, nor large files that were uploaded before an
attempt was interrupted.
"""
