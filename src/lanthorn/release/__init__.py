"""The wire between a TEE and a key broker: KBS messages, and the client that runs in the TEE.

What lives here is imported on the way to every protected program, so it stays light: no pydantic, no SQL, no
HTTP framework. The server is `lanthorn.broker`, and nothing that runs in the TEE imports it.
"""
