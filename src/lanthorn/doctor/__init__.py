"""What this machine has, what `lanthorn run` needs of it, and the command that mends what is missing.

finding.py  one line of the report
machine.py  the machine as the checks see it: a file system root and four probes, replaceable in tests
tees.py     devices of trusted execution environments
native.py   what the native runtime needs: FUSE, bubblewrap, user namespaces, and a real trial of all three
software.py Gramine, Python and libraries, and where plaintext pages could go
probe.py    the trial itself, in a process of its own
diagnosis.py all findings together, and the target that `lanthorn run` would pick
"""

from lanthorn.doctor.diagnosis import Diagnosis, diagnose
from lanthorn.doctor.finding import Finding, State
from lanthorn.doctor.machine import Machine, Outcome

__all__ = ["Diagnosis", "Finding", "Machine", "Outcome", "State", "diagnose"]
