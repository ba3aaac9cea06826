"""ETags and the headers that compare them."""

import pytest
from aiohttp.test_utils import make_mocked_request

from provisioner.model.addresses import Subnet
from provisioner.services.preconditions import PreconditionFailed, check, is_known, tag_of

TAG = '"a1"'


def request(**headers):
    return make_mocked_request("PUT", "/", headers={name.replace("_", "-"): text for name, text in headers.items()})


@pytest.mark.parametrize("header", ["*", '"a1"', '"x", "a1"', ' "a1" '])
def test_a_change_goes_on_when_the_tag_is_named(header):
    check(request(If_Match=header), TAG, "it")


@pytest.mark.parametrize(
    ("header", "tag"), [('"x"', TAG), ('W/"a1"', TAG), ("a1", TAG), ("", TAG), ("*", None), (TAG, None)]
)
def test_a_change_is_refused_when_it_is_not(header, tag):
    with pytest.raises(PreconditionFailed) as caught:
        check(request(If_Match=header), tag, "it")
    assert (caught.value.status, caught.value.object) == (412, "it")


def test_an_object_that_must_be_new_must_not_be_there():
    check(request(If_None_Match="*"), None, "it")
    with pytest.raises(PreconditionFailed):
        check(request(If_None_Match="*"), TAG, "it")


@pytest.mark.parametrize(("header", "known"), [("*", True), ('W/"a1"', True), ('"b", "a1"', True), ('"b"', False)])
def test_who_has_it_is_told_so(header, known):
    assert is_known(request(If_None_Match=header), TAG) is known
    assert not is_known(request(), TAG)


def test_equal_objects_have_equal_tags():
    one, other = ({"a": 1, "b": [2]}, {"b": [2], "a": 1})
    assert tag_of(one) == tag_of(other) != tag_of({"a": 1})
    assert tag_of(Subnet(name="a", cidr="10.0.0.0/8")) != tag_of(Subnet(name="b", cidr="10.0.0.0/8"))
