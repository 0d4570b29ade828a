"""Tests of the prediction, and the models and cards that they share."""
