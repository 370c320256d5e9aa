from hypothesis import settings

# Ten times the default: `pytest --hypothesis-profile thorough tests/unit/store`, for a night.
settings.register_profile("thorough", max_examples=1000, deadline=None)
