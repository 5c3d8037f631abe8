from __future__ import annotations

from collections.abc import Iterator

import pytest
from chatting import Partner
from stand_in import serving


@pytest.fixture
def partner() -> Iterator[Partner]:
    with serving(Partner()) as partner:
        yield partner
