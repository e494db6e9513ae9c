"""Algorithms, one file each: how captions are drawn and weighed, and what is descended."""
