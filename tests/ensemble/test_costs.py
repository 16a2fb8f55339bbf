from collections.abc import Callable
from pathlib import Path

from asr_kd.ensemble.costs import network_costs
from asr_kd.ensemble.teachers import open_teacher

Make = Callable[..., Path]


def test_what_an_archive_cost_is_not_known(
    make_features: Make, make_network: Make, make_archive: Callable[..., str], make_posts: Callable
) -> None:
    data, model = make_features("data", 4), make_network("model", "tdnn", 4)
    network = open_teacher(str(model), data)
    archive = open_teacher(make_archive("posts", {"a": make_posts(3, 0)}), data)
    alone = network_costs([network])
    assert None not in alone
    assert network_costs([network, network]) == tuple(2 * cost for cost in alone)
    assert network_costs([archive]) == (None, None, None)
    assert network_costs([network, archive]) == (None, None, None)
