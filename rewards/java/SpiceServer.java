import java.io.BufferedReader;
import java.io.InputStreamReader;
import java.io.PrintStream;
import java.lang.reflect.Constructor;
import java.lang.reflect.InvocationTargetException;
import java.lang.reflect.Method;
import java.nio.charset.StandardCharsets;
import java.util.ArrayList;
import java.util.LinkedHashMap;
import java.util.List;
import java.util.Map;
import org.json.simple.JSONArray;
import org.json.simple.JSONObject;
import org.json.simple.JSONValue;

/**
 * Keeps SPICE alive: scores captions line by line through the public classes of its program.
 *
 * <p>A request is a line of JSON, [[caption, [reference, ...]], ...]; its answer is a line of JSON too, the program's own
 * [{"image_id": place in the request, "scores": {"All": {"f": ..., "pr": ..., "re": ...}, "Color": ...}}, ...], or
 * {"error": what went wrong}.
 *
 * <p>Arguments: folders of parses kept on disk, of captions and of references ("-" keeps none); threads (0: one per
 * processor); how many images' reference graphs are kept in memory.
 */
public class SpiceServer {
  private static final String PACKAGE = "edu.anu.spice.";
  private static final String[] CATEGORIES = {"Object", "Attribute", "Relation", "Color", "Cardinality", "Size"};
  private static final boolean SYNSETS = true; // as the program does unless told otherwise

  private final Object captionParser;
  private final Object referenceParser;
  private final Method parseEach;
  private final Method parseGroups;
  private final Constructor<?> emptyGraph;
  private final Constructor<?> statistics;
  private final Method score;
  private final Map<String, Object> filters = new LinkedHashMap<>();
  private final Map<List<String>, Object> referenceGraphs;

  private SpiceServer(String captionParses, String referenceParses, int threads, int remembered) throws Exception {
    Class<?> parser = Class.forName(PACKAGE + "SpiceParser");
    Class<?> graph = Class.forName(PACKAGE + "SceneGraph");
    Class<?> stats = Class.forName(PACKAGE + "SpiceStats");
    Class<?> filter = Class.forName(PACKAGE + "TupleFilter");
    Constructor<?> newParser = parser.getConstructor(String.class, int.class, Boolean.class);
    int used = threads > 0 ? threads : Runtime.getRuntime().availableProcessors();
    captionParser = newParser.newInstance(folder(captionParses), used, SYNSETS);
    // One folder must not be opened twice.
    boolean same = captionParses.equals(referenceParses);
    referenceParser = same ? captionParser : newParser.newInstance(folder(referenceParses), used, SYNSETS);
    parseEach = parser.getMethod("parseCaptions", List.class);
    parseGroups = parser.getMethod("parseCaptions", List.class, List.class); // captions, and how many each image has
    emptyGraph = graph.getConstructor(Class.forName("edu.cmu.meteor.aligner.SynonymDictionary"));
    statistics = stats.getConstructor(Map.class, Boolean.class);
    score = stats.getMethod("score", Object.class, graph, graph, boolean.class);
    for (String category : CATEGORIES) {
      filters.put(category, filter.getField(category.toLowerCase() + "Filter").get(null));
    }
    referenceGraphs =
        new LinkedHashMap<>(16, 0.75f, true) {
          @Override
          protected boolean removeEldestEntry(Map.Entry<List<String>, Object> eldest) {
            return size() > remembered;
          }
        };
  }

  private static String folder(String argument) {
    return argument.equals("-") ? null : argument;
  }

  /** The scores of each caption of a request, as the program writes them. */
  private String answer(String request) throws Exception {
    List<String> captions = new ArrayList<>();
    List<List<String>> references = new ArrayList<>();
    for (Object pair : (JSONArray) JSONValue.parse(request)) {
      captions.add((String) ((JSONArray) pair).get(0));
      references.add(strings((JSONArray) ((JSONArray) pair).get(1)));
    }
    Map<List<String>, Object> theirs = referenceGraphs(references);
    List<Object> graphs = captionGraphs(captions);
    Object stats = statistics.newInstance(filters, false);
    for (int place = 0; place < captions.size(); place++) {
      score.invoke(stats, place, graphs.get(place), theirs.get(references.get(place)), SYNSETS);
    }
    return (String) stats.getClass().getMethod("toJSONString").invoke(stats);
  }

  /** The graph of each caption; that of no words is empty, which the parser need not find out. */
  private List<Object> captionGraphs(List<String> captions) throws Exception {
    List<String> worded = new ArrayList<>(captions);
    worded.removeIf(String::isBlank);
    List<?> parsed = worded.isEmpty() ? List.of() : (List<?>) parseEach.invoke(captionParser, worded);
    List<Object> graphs = new ArrayList<>();
    int next = 0;
    for (String caption : captions) {
      graphs.add(caption.isBlank() ? emptyGraph.newInstance((Object) null) : parsed.get(next++));
    }
    return graphs;
  }

  /** The graph of each image's references together; those not yet known are parsed in one go. */
  private Map<List<String>, Object> referenceGraphs(List<List<String>> references) throws Exception {
    Map<List<String>, Object> graphs = new LinkedHashMap<>();
    List<List<String>> unknown = new ArrayList<>();
    List<String> captions = new ArrayList<>();
    List<Integer> sizes = new ArrayList<>();
    for (List<String> image : references) {
      if (graphs.containsKey(image)) {
        continue;
      }
      Object graph = referenceGraphs.get(image);
      List<String> worded = new ArrayList<>(image);
      worded.removeIf(String::isBlank);
      if (graph == null && worded.isEmpty()) {
        graph = emptyGraph.newInstance((Object) null);
      } else if (graph == null) {
        unknown.add(image);
        captions.addAll(worded);
        sizes.add(worded.size());
      }
      graphs.put(image, graph);
    }
    if (!unknown.isEmpty()) {
      List<?> parsed = (List<?>) parseGroups.invoke(referenceParser, captions, sizes);
      for (int image = 0; image < unknown.size(); image++) {
        graphs.put(unknown.get(image), parsed.get(image));
        referenceGraphs.put(unknown.get(image), parsed.get(image));
      }
    }
    return graphs;
  }

  private static List<String> strings(JSONArray array) {
    List<String> strings = new ArrayList<>();
    for (Object item : array) {
      strings.add((String) item);
    }
    return strings;
  }

  @SuppressWarnings("unchecked")
  private static String error(Throwable failure) {
    Throwable cause = failure;
    while (cause.getCause() != null) {
      cause = cause.getCause();
    }
    JSONObject answer = new JSONObject();
    answer.put("error", cause.toString());
    return answer.toJSONString();
  }

  public static void main(String[] arguments) throws Exception {
    PrintStream answers = new PrintStream(System.out, false, StandardCharsets.UTF_8);
    System.setOut(System.err); // whatever the libraries have to say must not stand among the answers
    BufferedReader requests = new BufferedReader(new InputStreamReader(System.in, StandardCharsets.UTF_8));
    SpiceServer server = null;
    for (String request = requests.readLine(); request != null; request = requests.readLine()) {
      String answer;
      try {
        if (server == null) {
          int threads = Integer.parseInt(arguments[2]);
          server = new SpiceServer(arguments[0], arguments[1], threads, Integer.parseInt(arguments[3]));
        }
        answer = server.answer(request);
      } catch (InvocationTargetException failure) {
        answer = error(failure.getCause());
      } catch (Exception | LinkageError failure) {
        answer = error(failure);
      }
      answers.print(answer + "\n");
      answers.flush();
    }
    System.exit(0); // the parent is gone; threads of the parser may still run
  }
}
