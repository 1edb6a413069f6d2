"""Lesson 10: dropout and zoneout in recurrent networks."""
