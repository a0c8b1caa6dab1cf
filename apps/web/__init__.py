"""Static site that runs a model file in the browser, on the visitor's camera.

- site: the model's description and all files of the site
- packages: the browser's runtimes, fetched with npm, pinned and verified
- icon: the site's icon, drawn
- static/: the page itself: preprocessing, worker, service worker, style
"""
