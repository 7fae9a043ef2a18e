"""`lanthorn demo`: the whole promise on a real model and a real photo, then a hostile operator.

run.py       the story from beginning to end, and the clean-up
stage.py     what its scenes share: the parties, the operator's machine, the run to compare with
honest.py    owner and operator do what they should
native.py    the same script without Lanthorn
leaks.py     find pieces of secrets in files; searching.py says which secrets, and in everything the operator had
hostile/     every attempt, with the reason it must be refused for
parties.py   the command line as a subprocess: nobody here has a way in that a person does not have
story.py     what is printed
"""
