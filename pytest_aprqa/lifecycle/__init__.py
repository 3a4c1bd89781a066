"""What is done to model artifacts over their life: conversion into other formats, caching of the results."""
