"""Demonstrations on the few photos that other packages ship: conversion and training."""
