"""Builders and conformance suites that the tests share; no magic."""
