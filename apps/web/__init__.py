"""Static site that runs a model file in the browser on pictures from the visitor's camera.

- site: description of the model for the page, and assembly of the site's files
- packages: runtimes for the browser, fetched with npm, pinned and verified
- icon: the site's icon, drawn with Pillow
- static/: HTML, style and scripts: preprocessing, worker, service worker
"""
