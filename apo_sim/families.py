"""Families of problems to draw from, each a function of a key. (placeholder)"""
