"""The words of the product as frozen values; they decode and encode themselves as JSON and YAML through msgspec.

A change is a new value (`msgspec.structs.replace`). Times are aware datetimes in UTC.
Which fields may be set from outside is said by the API, what is consistent by the rules on floor 1.
"""
