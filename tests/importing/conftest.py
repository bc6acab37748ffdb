"""What the tests of bodies share."""

import pytest

from support.bodies import BODIES, made


@pytest.fixture(scope="module", params=BODIES)
def world(request, tmp_path_factory, sentences):
    return made(request.param, tmp_path_factory.mktemp(request.param), sentences[:1500])
