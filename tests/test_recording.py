from provisioner.recording import NO_RECORDER, PROTOCOLS


def test_without_a_recorder_a_service_notes_nothing():
    NO_RECORDER.keep("dhcp", 0.0, "52:54:00:00:00:01", False, b"", ("0.0.0.0", 68), ("255.255.255.255", 67), "eth0")
    NO_RECORDER.flush()


def test_protocols_keep_their_numbers_on_disk():
    assert PROTOCOLS[:3] == ("dhcp", "proxy", "dhcp6")
