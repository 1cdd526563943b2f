"""The words that ask for numbers and levels, by what they are for; the words of the domains are in ``prompt_words``."""

from enum import Enum, auto

__all__ = ["NUMBER_WORDS", "PHRASES", "SCALE_WORDS", "Kind"]


class Kind(Enum):
    """What a word or phrase is for."""

    NUMBER = auto()
    NODES = auto()  # a noun that nodes are counted in
    EDGES = auto()
    COMPONENTS = auto()
    GROUPS = auto()  # communities: their number is not asked of the graph, but they are strong or weak
    SIZE = auto()  # "number of nodes"; value: num_nodes or num_edges
    ATTRIBUTE = auto()  # value: its name
    THINGS = auto()  # triangles, hubs: few or many of them are a level of the attribute in value
    ADJECTIVE = auto()  # "dense"; value: attribute and level
    FACT = auto()  # "connected"; value: attribute and number
    LEVEL = auto()  # value: low, medium or high
    REGULAR = auto()  # "3-regular"
    NOT = auto()
    BOUND = auto()  # value: least, most, more or fewer
    LINK = auto()  # joins an attribute with its number or level
    FILLER = auto()  # changes nothing where it stands
    BETWEEN = auto()
    AND = auto()
    PER = auto()
    TIMES = auto()
    STOP = auto()  # ends a phrase
    WORD = auto()  # any other word, or a phrase whose words would mislead one by one


PHRASES: dict[Kind, dict[object, str]] = {
    Kind.ATTRIBUTE: {
        "mean_degree": "mean degree|average degree|avg degree|average node degree|mean node degree|degree|"
        "average vertex degree|node degree|vertex degree|degree on average|connectivity|degree of each node",
        "clustering": "clustering|clustering coefficient|average clustering|average clustering coefficient|"
        "mean clustering|mean clustering coefficient|local clustering|local clustering coefficient|avg clustering|"
        "avg clustering coefficient|average local clustering|degree of clustering|level of clustering",
        "transitivity": "transitivity|global clustering|global clustering coefficient",
        "degree_gini": "degree gini|degree gini coefficient|gini|gini coefficient|gini index|degree inequality|"
        "degree heterogeneity|gini coefficient of the degrees|gini of the degrees",
        "assortativity": "assortativity|degree assortativity|degree correlation|assortativity coefficient|"
        "degree assortativity coefficient",
        "modularity": "modularity|community structure|modular structure|division into communities|"
        "level of modularity|modularity score",
        "components": "number of components|number of connected components|component count",
        "diameter": "diameter|largest distance|longest shortest path|graph diameter",
        "density": "density|edge density|link density|density of edges|graph density|level of density|"
        "edge probability|link probability|connection probability",
    },
    Kind.THINGS: {
        "clustering": "triangles|closed triangles",
        "degree_gini": "hubs|hub nodes",
        "mean_degree": "neighbours|neighbors",
    },
    Kind.GROUPS: {"modularity": "communities|community|clusters|modules|blocks|cliques|planted communities"},
    Kind.ADJECTIVE: {
        ("mean_degree", "high"): "dense|densely|densely connected|densely linked|highly connected|well connected|"
        "richly connected|strongly connected|well linked",
        ("mean_degree", "low"): "sparse|sparsely|sparsely connected|loosely connected|sparsely linked|"
        "poorly connected|weakly connected|lightly connected|thinly connected",
        ("clustering", "high"): "clustered|tightly knit|tight-knit|close-knit|cliquish|triangle-rich",
        ("clustering", "low"): "unclustered",
        ("modularity", "high"): "modular|community-structured",
        ("degree_gini", "high"): "hub-dominated|hub-like|hub-and-spoke|heterogeneous degrees",
        ("degree_gini", "low"): "homogeneous degrees|equal degrees|similar degrees",
        ("assortativity", "high"): "assortative",
        ("assortativity", "low"): "disassortative",
        ("components", "high"): "disconnected|fragmented|unconnected",
    },
    Kind.FACT: {
        ("components", 1.0): "connected|in one piece|single connected component|fully connected|single component",
        ("clustering", 0.0): "triangle-free",
        ("density", 1.0): "complete graph|complete network",
    },
    Kind.LEVEL: {
        "low": "low|lower|small|weak|weakly|little|poor|few|a few|only a few|slight|slightly|minimal|tiny|short|"
        "lightly|barely|hardly any|a small number of",
        "medium": "medium|moderate|moderately|intermediate|mid|middling|modest|modestly|somewhat|"
        "a moderate number of|low to medium|low to moderate",
        "high": "high|higher|highly|large|strong|strongly|great|big|many|heavy|heavily|rich|much|pronounced|lots of|"
        "long|plenty of|a lot of|numerous|elevated|marked|clear|clearly|distinct|well separated|tight|extreme|"
        "extremely high|a large number of|a high number of",
    },
    Kind.COMPONENTS: {None: "components|component|connected components|connected component|separate parts|pieces"},
    Kind.REGULAR: {None: "regular|regular graph|regular network"},
    Kind.SIZE: {
        "num_nodes": "number of nodes|number of vertices|node count|vertex count|size|graph size|num nodes|nodes count",
        "num_edges": "number of edges|number of links|edge count|link count|num edges|edges count",
    },
    Kind.NOT: {
        None: "not|no|without|never|isn't|aren't|non|lacking|lacks|free of|unlike|rather than|instead of|absence of|"
        "neither|nor|does not have|doesn't have",
    },
    Kind.BOUND: {
        "least": "at least|no fewer than|no less than|not fewer than|not less than|minimum of|minimum|>=|min|or more",
        "most": "at most|no more than|not more than|up to|maximum of|maximum|<=|max|or fewer|or less",
        "more": "more than|over|above|greater than|larger than|>|exceeding",
        "fewer": "fewer than|less than|under|below|smaller than|<",
    },
    Kind.LINK: {
        None: "of|is|are|=|:|equals|equal|to|at|being|value|should be|must be|set to|has|have|be|stays|remains",
    },
    Kind.FILLER: {
        None: "a|an|the|about|around|roughly|approximately|approx|near|nearly|some|circa|ca|~|exactly|almost|precisely|"
        "close to|just|very|quite|rather|relatively|fairly|really|so|too|total|a total of|only|overall",
    },
    Kind.BETWEEN: {None: "between|from"},
    Kind.AND: {None: "and|&|or|-|plus|but"},
    Kind.PER: {None: "per|each|for each|for every|every|apiece|on average per|on average"},
    Kind.TIMES: {None: "x|by|times"},
    Kind.STOP: {None: ",|;|.|!|?|(|)|with|that|whose|in|which|where|while|joined|linked|on|together|yet"},
    Kind.WORD: {
        None: "connected to|connected by|connected with|connected through|connected via|high quality|low voltage|"
        "large scale|small scale|medium sized|high school|long range|short range|maximum degree|max degree|"
        "minimum degree|min degree|degree distribution|degree sequence|degree exponent|degree centrality|strong ties|"
        "weak ties",
    },
}

NUMBER_WORDS = {
    word: value
    for value, word in enumerate(
        (
            *("zero", "one", "two", "three", "four", "five", "six", "seven", "eight", "nine", "ten", "eleven"),
            *("twelve", "thirteen", "fourteen", "fifteen", "sixteen", "seventeen", "eighteen", "nineteen"),
        )
    )
}
NUMBER_WORDS |= {
    word: 10 * tens
    for tens, word in enumerate(("twenty", "thirty", "forty", "fifty", "sixty", "seventy", "eighty", "ninety"), start=2)
}

SCALE_WORDS = {"hundred": 100, "thousand": 1000, "million": 10**6, "dozen": 12}
