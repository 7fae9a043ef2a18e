"""Check evidence. Never imports an attester or the simulator."""
