"""Customers, what they sign in with, and what shall happen to their files."""
