"""Model file -> a static site that runs it on the visitor's camera, in the browser.

site      the model's description and every file of the site, written at once
packages  the browser's runtimes, fetched with npm: pinned, checked
icon      the site's icon, drawn
static/   the page itself: preprocessing, worker, service worker, looks
"""
