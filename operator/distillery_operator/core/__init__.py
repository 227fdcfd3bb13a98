"""Every decision about a Distillation, as pure functions: observation in, actions and status out.

No request, no clock and no Kubernetes client in here: cluster does the requests, controller calls."""
