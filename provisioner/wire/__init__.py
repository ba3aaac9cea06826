"""Codecs: bytes to value to bytes. dhcp is RFC 2131 and 2132, tftp is RFC 1350 and 2347-2349."""
