"""Evidence: made by an attester inside a TEE, checked by a verifier at the broker.

`evidence` has what both sides share, `claims` what a verifier returns. `attester` and `verifier` never import
each other, and `verifier` never imports `simulator`: a relying party installs one side.
"""
