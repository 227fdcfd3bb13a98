"""The stages that run as Jobs, and the estimate: one module with one `run` each.

A stage joins the packages below it and reports its result; the work itself is done there."""
