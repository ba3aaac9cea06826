"""Content as values: YAML and templates read, checked and put together. Pure; files are read by `packs`.

located: text to values that know their lines. templating: what a template refers to. references: what an object
refers to. faults: what is wrong with one object. stack: what is wrong between them. whole: the content in force.
"""
