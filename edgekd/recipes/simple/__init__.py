"""Everything of a recipe that a user need not write: configuration, data in memory, pipeline, metrics, stages.

A recipe of its own is then a subclass of ``recipe.Classification`` or ``recipe.Regression`` in a package with a
``recipe.toml`` that names the parts it takes from here::

    [parts]
    config = "edgekd.recipes.simple.config"
    pipeline = "edgekd.recipes.simple.pipeline"
    metrics = "edgekd.recipes.simple.classification"
"""
