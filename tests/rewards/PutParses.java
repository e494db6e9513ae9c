import java.util.ArrayList;
import java.util.HashMap;
import java.util.List;
import java.util.Map;
import org.json.simple.JSONObject;
import org.json.simple.JSONValue;

/** Puts hand-made parses, {caption: [[object], [object, attribute], [subject, object, relation], ...]}, into SPICE's data base. */
public class PutParses {
  @SuppressWarnings("unchecked")
  public static void main(String[] arguments) throws Exception {
    Map<String, ArrayList<ArrayList<String>>> parses = new HashMap<>();
    for (Object item : ((JSONObject) JSONValue.parse(arguments[1])).entrySet()) {
      Map.Entry<String, List<List<String>>> entry = (Map.Entry<String, List<List<String>>>) item;
      ArrayList<ArrayList<String>> tuples = new ArrayList<>();
      for (List<String> tuple : entry.getValue()) {
        tuples.add(new ArrayList<>(tuple));
      }
      parses.put(entry.getKey(), tuples);
    }
    Class<?> base = Class.forName("edu.anu.spice.LmdbTupleDB");
    Object opened = base.getConstructor(String.class).newInstance(arguments[0]);
    base.getMethod("putTransaction", Map.class).invoke(opened, parses);
  }
}
