"""A CPU vendor in software, for development and tests: it protects nothing.

Its quotes and collateral have the structures of real ones, under a root of its own that is passed around
explicitly. No verifier imports it. Making a vendor loads `cryptography.x509`; making a quote does not.
"""
