"""Frozen timm backbones and where their weights come from. (to be written)"""
from __future__ import annotations
