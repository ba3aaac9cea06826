"""The parts of the API put together."""


async def test_passwords_are_taken_apart_from_everything_else(parts):
    api = parts.api()
    taken = {"login", "logout", "users", "tokens"}
    assert {each.place.split("/")[3] for each in api.login_operations()} == taken
    assert not {each.place.split("/")[3] for each in api.operations()} & taken


async def test_every_operation_says_what_it_does_and_answers(parts):
    api = parts.api()
    for operation in [*api.operations(), *api.login_operations()]:
        assert operation.words and operation.answers and operation.tag, operation.place
