"""The key broker: an owner's own server, which releases keys to jobs whose evidence its owner's policy
admits.

Runs at the owner. Nothing that runs in the TEE imports it.
"""
