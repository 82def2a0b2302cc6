from typing import Any

import pytest

from netserv.errors import LocalProtocolError
from netserv.signaling.transport.intercept import InterceptConfig


@pytest.mark.parametrize(
    "wrong",
    [
        {"nslp_ids": ()},
        {"nslp_ids": tuple(range(11))},
        {"nslp_ids": (65_536,)},
        {"mark": 0},
        {"mark": 2**32},
        {"table": 0},
        {"table": 254},
        {"table": 32_766},
        {"queue": 65_536},
        {"queue_max": 0},
    ],
)
def test_settings_out_of_range_are_refused(wrong: dict[str, Any]) -> None:
    with pytest.raises(LocalProtocolError):
        InterceptConfig(**wrong)
