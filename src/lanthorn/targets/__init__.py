"""Where a locked job runs. `native` is Lanthorn's own runtime, for confidential VMs and for simulation."""
