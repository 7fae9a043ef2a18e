"""The job: what `lanthorn.toml` asks for, and the `lanthorn.lock` that pins it byte by byte.

`manifest` reads the request, `locking` pins it on the owner's machine, `lock` reads the result anywhere,
`view` lays the locked files out as the program will see them. Only `lock`, `tree` and `view` are used while a
job runs.
"""
