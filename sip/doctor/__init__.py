"""Doctor stage: a machine and a configuration in, what is there and what is missing out.

It looks and changes nothing: no weights are fetched, no folder is made, no key is shown.
"""
