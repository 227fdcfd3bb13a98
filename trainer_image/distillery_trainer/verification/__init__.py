"""The served student: which rows of the evaluation it is asked, the requests, and whether it answers as there."""
