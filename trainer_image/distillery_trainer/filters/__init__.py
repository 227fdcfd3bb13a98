"""Which rows and answers become training rows, and why the others are rejected.

A reply from which no answer can be read is rejected in parsing/ and tasks/; a row too long to train on, in student/."""
