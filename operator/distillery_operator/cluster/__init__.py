"""Everything that talks to the API server or to a running stage; the only package that imports the Kubernetes client.

No decision is made here."""
