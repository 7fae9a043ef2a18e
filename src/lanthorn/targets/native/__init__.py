"""The native runtime: the program sees plaintext files at their ordinary paths; the host sees ciphertext.

run.py        the supervisor: attest, fetch keys, start the program, record the run
server.py     the file server's process, forked early so that it mounts while keys are on their way
fuse.py       kernel requests to tree operations, and nothing else
tree.py       the name space: which node stands at which path
trusted.py    code and libraries, each chunk checked against the lock when it is read
inputs.py     protected inputs, each node decrypted and checked when it is read
outputs.py    protected outputs, complete or absent
sandbox.py    the program's world: bubblewrap arguments
namespaces.py mount and user namespaces of the runtime itself
"""
