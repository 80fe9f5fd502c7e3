"""Which connections count together, and how many may be open; tests/jobs/serve has the rest."""

from engine.serving.connections import _peer, fit_connections


def test_a_peer_is_an_address_or_the_network_of_one_customer() -> None:
    assert _peer(("192.0.2.1", 1)) != _peer(("192.0.2.2", 1))
    assert _peer(("2001:db8:0:1::1", 1)) == _peer(("2001:db8:0:1:ffff::2%eth0", 2))
    assert _peer(("2001:db8:0:1::1", 1)) != _peer(("2001:db8:0:2::1", 1))
    assert _peer(("::ffff:192.0.2.1", 1)) == _peer(("192.0.2.1", 1))
    assert _peer(None) == _peer(("", 0))


def test_half_of_the_files_that_the_process_may_open_stay_free_and_less_is_told() -> None:
    assert fit_connections(1, setting="limits.connections") == (1, [])

    most, notices = fit_connections(1 << 40, setting="limits.connections")

    if most < 1 << 40:
        [notice] = notices
        assert f"only {most} of limits.connections: {1 << 40} may be open" in notice
        assert "ulimit -n" in notice
